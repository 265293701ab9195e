// Generated from web/milepost/ by `node sdks/typescript/bundle.js`. Do not edit.
var m=r=>["completed","failed","cancelled"].includes(r.status);function p(r,t){let[e,s]=t.split("-"),[n,i]=(r??"").split(
"-");return e!==n||!s||!i?NaN:i.length-s.length||(i<s?-1:+(i>s))}function f(r){try{let t=JSON.parse(r);return typeof t=="object"?t:null}catch{return null}}var O=6e5;function C(r,t,e,s){if([1e3,1002,1007,1009].includes(r)||r>=4400&&r<4500)return null;if(r===1011)return 1e3+s*
4e3;let n=r===1012||r===1013?f(t)?.retry_ms:void 0;return n>=0?Math.min(n,O):s*Math.min(3e4,1e3*2**Math.min(e,10))}var x=({
headers:r})=>Math.min(Number(r.get("retry-after"))*1e3*(1+Math.random())||0,O);var y=1e4,z=3,J=100,N=0,R=4404,d=()=>performance.now(),S=class{#t=new Map;#e=0;#o=0;#n=0;#s="connecting";#r="";#h=!1;#u=0;#c=null;#a=null;#f=!1;#p=0;#l={};constructor(t,e,s){
this.base=t.replace(/^ws/,"http").replace(/\/+$/,""),this.token=e,this.notify=s}watch(t,e,s){this.#S(t),this.#t.set(t,{since:e,
pace:s}),this.#i(" rest"),this.#a?this.#_(t):this.#f?this.#k(t):!this.#c&&!this.#l[" retry"]&&this.#m()}unwatch(t){this.#S(
t),this.#t.delete(t)&&(this.#w({type:"unsubscribe",job_id:t}),this.#t.size||this.#i(" rest",100,()=>this.close()))}probe(){
if(this.#a)return this.#E(3e3);!this.#l[" retry"]&&!this.#f||(this.#o=this.#n=this.#e=0,this.#j(),this.#m())}close(){this.#t.
clear(),this.#j(),this.#d("connecting")}#m(){if(this.#i(" retry"),!!this.#t.size){if(!this.#e&&!globalThis.WebSocket&&(this.#e=
1),!this.#e)return this.#v();this.#f=!0;for(let t of this.#t.keys())this.#k(t)}}#v(){let t=new URLSearchParams(this.token&&
{token:this.token}),e;try{e=new WebSocket(`${this.base.replace(/^http/,"ws")}/ws?${t}`)}catch(i){return this.#b(4400,String(
i))}let s=()=>{this.#i(" greeting"),this.#i(" blocked"),e.onclose=e.onerror=e.onmessage=null,e.close(),this.#c=this.#a=null},
n=(i,o)=>{s(),this.#f?this.#O():this.#b(i,o)};this.#c=s,this.#r="",this.#i(" greeting",y,()=>n(1006,"")),e.onclose=i=>n(
i.code,i.reason),e.onerror=()=>this.#i(" blocked",J,()=>{this.#e=1,n(N,"")}),e.onmessage=i=>{this.#u=d(),this.#i(" dead");
let o=f(i.data);if(typeof o?.position=="string")this.#y(o);else if(o?.type==="connected"){this.#i(" greeting"),this.#C(),
this.#a=e,this.#e=0,this.#h=!0,this.#M();for(let h of this.#t.keys())this.#_(h);this.#x()}else o?.type==="subscribed"?this.#g(
o.job_id,o.known):o?.type==="error"&&this.#N(o)}}#x(){this.#i(" listen",2500,()=>{d()-this.#u>y&&this.#E(5e3),this.#x()})}#E(t){
this.#l[" dead"]||(this.#w({type:"ping"}),this.#i(" dead",t,()=>this.#b(1006,"")))}#_(t){let e=this.#t.get(t);this.#w({type:"\
subscribe",job_id:t,since:e?.since,...e?.pace})}#w(t){this.#a?.send(JSON.stringify(t))}#y(t){let e=this.#t.get(t.job_id);
e&&(p(e.since,t.position)>0||(e.since=t.position),this.notify({t:"state",job:t.job_id,state:t}))}#g(t,e){e===!1&&this.#t.
has(t)&&this.notify({t:"unknown",job:t})}#N({problem:t,message:e="",job_id:s=""}){this.#t.has(s)?/^invalid/.test(t??"")?
this.#$(s,e):this.#k(s):this.#r=e}#$(t,e){this.unwatch(t),this.notify({t:"rejected",job:t,reason:e})}async#k(t){let e=this.#t.
get(t);if(e)for(;;){let s=e.stop=new AbortController,n=h=>this.#i(t,h,()=>s.abort()),i=this.#p<z;this.#p+=Number(i);let o=0;
try{n(2*y),i&&this.#e===1&&!e.ended?await this.#L(t,e,s.signal,n):o=await this.#T(t,e,s.signal,i)}catch(h){let{code:c,reason:a=""}=h;
if(e.stop!==s)return;if(c===4400)return this.#$(t,a);if(!this.#a)return this.#b(c,a);o=Math.max(5e3,f(a)?.retry_ms||0)}finally{
this.#p-=Number(i)}if(e.stop!==s)return;await new Promise(h=>this.#i(t,o,()=>h(null)))}}#S(t){let e=this.#t.get(t);this.#i(
t),e?.stop?.abort(),e&&(e.stop=void 0)}async#A(t,e,s={}){this.token&&(s.authorization=`Bearer ${this.token}`);let n=await fetch(
`${this.base}/jobs/${t}`,{headers:s,signal:e,cache:"no-store"}),{ok:i,status:o}=n;if(this.#R(n),i||o===304||o===404)return n;
let h=x(n);if(h)throw{code:1013,reason:`{"retry_ms":${h}}`};let c=f(await n.text())?.detail;throw{code:[400,401,403].includes(
o)?4400:1006,reason:c}}#R({ok:t,status:e,url:s,headers:n}){let i=n.get("content-type")??"";if(this.#h||=(t?/json|event-stream/:
/problem.json/).test(i)||e===204||e===304,!(this.#h||!(t||e===404)))throw{code:R,reason:`no Milepost server at ${this.base}\
: ${s} answered ${e} ${i}`.trim()}}async#L(t,e,s,n){let i=Object.entries({since:e.since,...e.pace}).filter(([,j])=>j),o=`${encodeURIComponent(
t)}/events?${new URLSearchParams(i)}`,{body:h,status:c}=await this.#A(o,s);if(e.ended=c===204,e.ended)return;if(c===404||
!h)throw{};let a=h.pipeThrough(new TextDecoderStream).getReader(),[l,u,_,$]=["","",2*y,d()];for(;!e.ended;){let{done:j,value:W}=await a.
read();if(s.aborted||j||l.length>1e7)throw{code:1012,reason:u};let A=(l+W).split(`

`);l=A.pop()??"";for(let B of A){this.#M();let w=Object.fromEntries(B.split(`
`).map(D=>D.split(/: ?(.*)/))),v=f(w.data);w.retry&&(u=`{"retry_ms":${w.retry}}`),v?w.event==="end"?e.ended=!0:w.event?this.#g(
t,v.known):this.#y(v):_=Math.max(5e3,d()-$)}$=d(),n(3*_)}}async#T(t,e,s,n){let i=d(),o=n&&this.#s==="open"?15:0,h=`${encodeURIComponent(
t)}?wait=${o}`,c=await this.#A(h,s,e.since?{"if-none-match":`"${e.since}"`}:{}),{status:a}=c,l=a===200&&await c.json();this.#f&&
this.#M(),a===404&&this.#g(t,!1),l&&(e.ended=m(l),this.#y(l));let u=n?1e3/(e.pace.max_rate??2):Math.max(2e3,100*this.#t.
size);return Math.max(u+i-d(),x(c))}#M(){this.#o=0,this.#d("open"),this.#l[" stable"]||this.#i(" stable",5e3,()=>this.#n=
0),this.#f&&this.#O()}#O(){this.#l[" climb"]||this.#c||!globalThis.WebSocket||this.#i(" climb",3*y,()=>this.#v())}#b(t,e){
let s=this.#s!=="open";if(this.#j(),t===N)return this.#m();s&&++this.#o===2&&(this.#o=0,this.#e=(this.#e+1)%3);let n=C(t,
e,this.#n,Math.random());if(this.#n+=1,t===R)return this.#d("failed",e);if(n===null)return this.#d("closed",this.#r||e);
this.#d("connecting"),this.#i(" retry",n,()=>this.#m())}#j(){for(let t of Object.keys(this.#l))this.#i(t);this.#c?.(),this.#C()}#C(){
this.#f=!1,this.#i(" climb");for(let t of this.#t.keys())this.#S(t)}#i(t,e,s){clearTimeout(this.#l[t]),delete this.#l[t],
s&&(this.#l[t]=setTimeout(()=>{delete this.#l[t],s()},e))}#d(t,e=""){t!==this.#s&&(this.#s=t,this.notify({t:"connection",
connection:t,reason:e}))}};var b=class{#t=new Map;#e=new Set;#o={t:"connection",connection:"connecting",reason:""};constructor(t,e){this.session=new S(
t,e,s=>this.#h(s))}receive(t,e){e.t==="open"?(this.#e.add(t),t(this.#o),e.lock&&navigator.locks.request(e.lock,()=>this.#r(
t))):e.t==="watch"?this.#n(t,e):e.t==="unwatch"?this.#s(e.job,e.key):e.t==="probe"?this.session.probe():this.#r(t)}#n(t,{
key:e,job:s,since:n,pace:i}){let o=this.#t.get(s)??{subscribers:new Map,pace:"",last:void 0};this.#t.set(s,o),o.subscribers.
set(e,{port:t,pace:i});let h=G(o.subscribers),c=JSON.stringify(h),{last:a}=o;if(a&&t(a),a?.t!=="state")this.session.watch(
s,o.subscribers.size>1?void 0:n,h);else{let{position:l}=a.state,u=p(n,l)<0;(u||o.pace!==c)&&this.session.watch(s,u?n:l,h)}
o.pace=c}#s(t,e){let s=this.#t.get(t);!s?.subscribers.delete(e)||s.subscribers.size||(this.#t.delete(t),this.session.unwatch(
t))}#r(t){this.#e.delete(t);for(let[e,s]of this.#t)for(let[n,i]of s.subscribers)i.port===t&&this.#s(e,n)}#h(t){let e=this.#e;
if(t.t==="connection")this.#o=t;else{let s=this.#t.get(t.job);if(!s)return;s.last=t,e=new Set([...s.subscribers.values()].
map(n=>n.port)),t.t==="rejected"&&this.#t.delete(t.job)}for(let s of e)s(t)}};function G(r){let t=[...r.values()].map(s=>s.
pace),e=t.map(s=>s.max_rate??1/0);return{mode:t.every(s=>s.mode==="latest")?"latest":void 0,max_rate:e.includes(1/0)?void 0:
Math.max(...e)}}var L="milepost-1bd49fd6",T=(r,t)=>JSON.stringify([L,import.meta.url,r,t]);function I(){let r=globalThis,[t,,e,s]=f(r.
name)??[];if(t!==L||!r.SharedWorkerGlobalScope)return;let n=new b(e,s),i=new Promise(o=>{navigator.locks.request(`${r.name}\
 worker`,()=>new Promise(()=>o()))});r.onconnect=({ports:[o]})=>{let h=c=>o.postMessage(c);o.onmessage=({data:c})=>n.receive(
h,c),i.then(()=>h({t:"hello"}))}}var P="document"in globalThis,g=Math.random().toString(36),M=class{#t=new Set;connection="connecting";reason="";#e=null;#o=!1;#n=[];constructor(t,e,s){
if(this.url=t,this.token=e,this.name=T(t,e),this.isShared=s&&P&&navigator.locks,this.#h(),!!P){for(let n of["visibilityc\
hange","online","offline","pageshow"])addEventListener(n,()=>{if(!document.hidden){this.#o?this.#h():this.#e?.({t:"probe"});
for(let i of this.#t)i.onConnection()}});addEventListener("pagehide",()=>this.#u())}}add(t){this.#t.add(t),this.#e?.(t.command(
"watch"))}delete(t){this.#t.delete(t),this.#e?.(t.command("unwatch"))}#s=t=>{t.t==="connection"&&({connection:this.connection,
reason:this.reason}=t),this.connection==="failed"&&t.t==="connection"&&console.warn(`milepost: ${this.reason}`);for(let e of this.#t)
t.t==="connection"?e.onConnection():t.job===e.jobId&&e.onMessage(t)};#r(t,e){this.#e=t,t({t:"open",lock:e});for(let s of this.#t)
t(s.command("watch"))}#h(){this.#o=!1;let t=g+this.name;this.isShared?this.#c(t,()=>this.#f(t)):this.#a()}#u(){this.#o=!0,
this.#e?.({t:"bye"}),this.#e=null;for(let t of this.#n.reverse())t();this.#n=[]}#c(t,e){let s=new AbortController,n=new Promise(
i=>{this.#n.push(i,()=>s.abort())});navigator.locks.request(t,{signal:s.signal},()=>(e(),n)).catch(i=>{i.name!=="AbortEr\
ror"&&this.#a()})}#a(){let t=new b(this.url,this.token);return this.#n.push(()=>t.session.close()),this.#r(e=>t.receive(
this.#s,e)),t}#f(t){let e=this.#n;new Promise((n,i)=>{let o=new URL(import.meta.url);if(o.origin!==location.origin||!o.pathname.
endsWith("/milepost.js"))throw o;let h=new SharedWorker(o,{type:"module",name:this.name});h.onerror=i,setTimeout(i,3e3),
h.port.onmessage=({data:c})=>c.t==="hello"?n(h.port):this.#s(c)}).then(n=>{e===this.#n&&(this.#r(i=>n.postMessage(i),t),
this.#c(`${this.name} worker`,()=>{this.#u(),this.#h()}))},()=>e===this.#n&&this.#p(t))}#p(t){let e=new BroadcastChannel(
this.name),s=null,n=new Map;e.onmessage=({data:{from:i,to:o,command:h,message:c}})=>{if(i&&s){let a=n.get(i)??(l=>e.postMessage(
{to:i,message:l}));n.set(i,a),h.t==="bye"&&n.delete(i),s.receive(a,h)}else o===g?this.#s(c):o==="*"&&this.#e&&this.#r(this.#e,
t)},this.#n.push(()=>e.close()),this.#r(i=>e.postMessage({from:g,command:i}),t),this.#c(this.name,()=>{s=this.#a(),e.postMessage(
{to:"*"})})}};var X=0,E=class{state=null;known=null;connection="connecting";error=null;#t=[];#e=[];#o=()=>{};#n=`${g} ${++X}`;#s=!1;#r=!1;#h=!1;#u="";constructor(t,e,s){
this.jobId=t,this.options=e,this.client=s,this.pace={mode:e.mode,max_rate:e.maxRate},e.since&&this.#t.push(e.since),s.add(
this),this.onConnection(),e.signal?.addEventListener("abort",()=>this.close()),e.signal?.aborted&&this.close()}get position(){
return this.#t.at(-1)}close(){this.#s||(this.#s=!0,this.client.delete(this),this.onConnection(),this.#o())}async*[Symbol.
asyncIterator](){try{for(;;){let t=this.#e.shift();if(t)yield t;else{if(this.error)throw this.error;if(this.#s)return;await new Promise(
e=>this.#o=()=>e(void 0))}}}finally{this.close()}}command(t){return{t,key:this.#n,job:this.jobId,since:this.position,pace:this.
pace}}onConnection(){let{connection:t,reason:e}=this.client,s=t==="failed";if((s||t==="closed")&&!this.#s)return this.#r=
s,this.#c(e);let n=t!=="open"&&globalThis.navigator?.onLine===!1,i=t==="connecting"&&this.#h,o=this.#r?"failed":"closed",
h=this.#s?o:n?"offline":i?"reconnecting":t;this.#h||=t==="open",h!==this.connection&&(this.connection=h,k(this.options.onConnection,
h))}onMessage(t){this.#s||(t.t==="rejected"?this.#c(t.reason):t.t==="state"?this.#a(t.state):this.known!==!1&&(this.known=
!1,k(this.options.onUnknown)))}#c(t){this.error=new Error(t||"rejected"),this.close(),k(this.options.onError,this.error)}#a(t){
let{position:e}=t;if(this.#t.some(o=>p(o,e)>=0))return;let s=this.#t.filter(o=>isNaN(p(o,e)));this.#t=[...s.slice(-3),e],
this.state=t,this.known=!0;let n=this.#e.at(-1);if(n&&!m(n)&&this.#e.pop(),this.#e=[...this.#e.slice(-8),t],this.#o(),k(
this.options.onState,t),!m(t)||this.#s)return;let i=`${t.attempt} ${t.status} ${t.timestamp}`;i!==this.#u&&k(this.options.
onEnd,t),this.#u=i,this.options.follow||this.close()}},q=new Map,Y=r=>new URL(r??"/",globalThis.location?.href).href;function U(r,t={}){
let e=Y(t.url),s=t.share??!0,n=JSON.stringify([e,t.token,s]),i=q.get(n)??new M(e,t.token,s);return q.set(n,i),new E(r,t,
i)}function k(r,...t){try{r?.(...t)}catch(e){queueMicrotask(()=>{throw e})}}function F(r){let t=typeof r=="string"?r.split(/\r?\n|\r/).filter(s=>s.trim()):[],e=(t.filter(s=>!/^\s/.test(s)).at(-1)??
t.at(-1)??"").trim();return e.length>300?`${e.slice(0,300)}…`:e}function yt(r,t){return U(r,t)}I();export{F as errorSummary,m as isEnd,yt as watch};
